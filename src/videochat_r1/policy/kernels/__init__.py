"""Triton kernels for what a stock layer does in many small steps. Imported only where they run: a CPU build of PyTorch has no Triton.

Each file holds one operation, forward and backward. The stock module or function it stands in for is its oracle, on a CPU by Triton's
interpreter (tests/policy/test_kernels.py). They compute in float32 and round once, where the stock code rounds after every step."""
