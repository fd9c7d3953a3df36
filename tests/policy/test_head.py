"""The head in tiles against one whole softmax."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from videochat_r1.policy.head import logits_of, score_tile, score_tokens


class Wrapped(nn.Module):
    """A head that is not a plain linear layer."""

    def __init__(self, linear):
        super().__init__()
        self.linear = linear

    def forward(self, x):
        return self.linear(x)


def whole(head, hidden, targets, temperature=1.0):
    logprobs = (head(hidden) / temperature).log_softmax(-1)
    return logprobs.gather(1, targets[:, None])[:, 0], -(logprobs.exp() * logprobs).sum(-1)


@pytest.mark.parametrize("tile_bytes", [1, 4 * 50 * 7, 1 << 20], ids=["a row a tile", "7 rows a tile", "one tile"])
@pytest.mark.parametrize("trained, temperature", [(True, 1.0), (False, 1.0), (True, 0.6), (False, 1.7)], ids=str)
@pytest.mark.parametrize(
    "wrap", [lambda linear: linear, Wrapped, lambda linear: nn.Sequential(linear, nn.Identity())], ids=["plain", "wrapped", "sequential"]
)
def test_scores_and_gradients_equal_the_whole_softmax(wrap, trained, temperature, tile_bytes):
    torch.manual_seed(0)
    linear = nn.Linear(16, 50, bias=False).requires_grad_(trained)
    hidden = (3 * torch.randn(23, 16)).requires_grad_()
    targets = torch.randint(0, 50, (23,))
    weight = torch.randn(23)
    wanted = [hidden, linear.weight] if trained else [hidden]
    expected, expected_entropies = whole(linear, hidden, targets, temperature)
    expected_grads = torch.autograd.grad((expected * weight).sum(), wanted)
    got, entropies = score_tokens(wrap(linear), hidden, targets, temperature=temperature, tile_bytes=tile_bytes)
    grads = torch.autograd.grad((got * weight).sum(), wanted)
    torch.testing.assert_close(got, expected, atol=2e-6, rtol=0)
    torch.testing.assert_close(entropies, expected_entropies, atol=2e-6, rtol=0)
    assert not entropies.requires_grad
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(grad, expected_grad, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("wrap", [lambda linear: linear, Wrapped], ids=["plain", "wrapped"])
def test_without_grad_and_without_tokens(wrap):
    head = wrap(nn.Linear(4, 9, bias=False))
    with torch.no_grad():
        logprobs, entropies = score_tokens(head, torch.randn(3, 4), torch.tensor([0, 8, 2]))
        assert logprobs.shape == entropies.shape == (3,) and not logprobs.requires_grad
        logprobs, entropies = score_tokens(head, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
        assert logprobs.shape == entropies.shape == (0,)


@pytest.mark.parametrize("wrap", [lambda linear: linear, Wrapped], ids=["plain", "wrapped"])
def test_huge_logits_stay_finite(wrap):
    linear = nn.Linear(2, 3, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[1e4, 0.0], [0.0, 1e4], [-1e4, 0.0]]))
    hidden = torch.tensor([[1.0, 0.0], [1.0, 1.0]], requires_grad=True)
    logprobs, entropies = score_tokens(wrap(linear), hidden, torch.tensor([0, 1]))
    (grad,) = torch.autograd.grad(logprobs.sum(), [hidden])
    assert logprobs.tolist() == pytest.approx([0.0, -0.6931472])
    assert entropies.tolist() == pytest.approx([0.0, 0.6931472])
    assert grad.isfinite().all()


class Largest(TorchDispatchMode):
    """Watches the numbers of the largest tensor that any operator makes."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        self.numbers = max([self.numbers, *(each.numel() for each in tree_leaves(made) if isinstance(each, torch.Tensor))])
        return made


@pytest.mark.parametrize("trained", [True, False], ids=["trained head", "frozen head"])
@pytest.mark.parametrize("wrap", [lambda linear: linear, Wrapped], ids=["plain", "wrapped"])
def test_no_tensor_is_larger_than_a_tile_of_the_vocabulary(wrap, trained):
    tokens, vocabulary, width, rows = 300, 500, 6, 8
    linear = nn.Linear(width, vocabulary, bias=False).requires_grad_(trained)
    hidden, targets = torch.randn(tokens, width, requires_grad=True), torch.randint(0, vocabulary, (tokens,))
    with Largest() as plain:
        whole(linear, hidden, targets)[0].sum().backward()
    assert plain.numbers == tokens * vocabulary
    with Largest() as tiled:
        score_tokens(wrap(linear), hidden, targets, tile_bytes=4 * vocabulary * rows)[0].sum().backward()
    assert tiled.numbers == rows * vocabulary > max(vocabulary * width, tokens * width)


def test_a_tile_can_be_compiled_whole():
    """By tracing alone: the kernels that a compiler makes of it are for a GPU."""
    torch.manual_seed(0)
    hidden, weight, targets = torch.randn(7, 16), torch.randn(50, 16), torch.randint(0, 50, (7,))
    compiled = torch.compile(score_tile, dynamic=True, fullgraph=True, backend="eager")
    for got, expected in zip(compiled(hidden, weight, targets, 0.7, True), score_tile(hidden, weight, targets, 0.7, True), strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("wrap", [lambda linear: linear, Wrapped], ids=["plain", "wrapped"])
def test_sampling_reads_the_same_logits(wrap):
    head, hidden = nn.Linear(16, 50, bias=False).bfloat16(), torch.randn(3, 16).bfloat16()
    logits = logits_of(wrap(head), hidden)
    assert logits.dtype == torch.float32
    logprobs, _ = score_tokens(wrap(head), hidden, torch.tensor([4, 5, 6]))
    torch.testing.assert_close(logits.log_softmax(-1).gather(1, torch.tensor([[4], [5], [6]]))[:, 0], logprobs)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_softmax_needs_a_temperature(temperature):
    with pytest.raises(ValueError, match="temperature"):
        score_tokens(nn.Linear(4, 9, bias=False), torch.zeros(1, 4), torch.tensor([0]), temperature=temperature)
