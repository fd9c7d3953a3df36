"""The head in tiles against one whole softmax."""

import pytest
import torch
from torch import nn

from videochat_r1.policy.head import score_tokens


class Wrapped(nn.Module):
    """A head that is not a plain linear layer."""

    def __init__(self, linear):
        super().__init__()
        self.linear = linear

    def forward(self, x):
        return self.linear(x)


def whole(head, hidden, targets):
    logprobs = head(hidden).log_softmax(-1)
    return logprobs.gather(1, targets[:, None])[:, 0], -(logprobs.exp() * logprobs).sum(-1)


@pytest.mark.parametrize("tile_bytes", [1, 4 * 50 * 7, 1 << 20], ids=["a row a tile", "7 rows a tile", "one tile"])
@pytest.mark.parametrize("trained", [True, False], ids=["trained head", "frozen head"])
@pytest.mark.parametrize(
    "wrap", [lambda linear: linear, Wrapped, lambda linear: nn.Sequential(linear, nn.Identity())], ids=["plain", "wrapped", "sequential"]
)
def test_scores_and_gradients_equal_the_whole_softmax(wrap, trained, tile_bytes):
    torch.manual_seed(0)
    linear = nn.Linear(16, 50, bias=False).requires_grad_(trained)
    hidden = (3 * torch.randn(23, 16)).requires_grad_()
    targets = torch.randint(0, 50, (23,))
    weight = torch.randn(23)
    wanted = [hidden, linear.weight] if trained else [hidden]
    expected, expected_entropies = whole(linear, hidden, targets)
    expected_grads = torch.autograd.grad((expected * weight).sum(), wanted)
    got, entropies = score_tokens(wrap(linear), hidden, targets, tile_bytes=tile_bytes)
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
