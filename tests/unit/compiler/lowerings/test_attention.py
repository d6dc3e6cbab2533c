import torch
from torch import nn
from torch.nn import functional as F


class Attend(nn.Module):
    def __init__(self, causal=False):
        super().__init__()
        self.causal = causal

    def forward(self, q, k, v, mask=None):
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=self.causal
        )


def _tensors(rows=5, columns=7):
    return (
        torch.randn(2, 3, rows, 8),
        torch.randn(2, 3, columns, 8),
        torch.randn(2, 3, columns, 16),
    )


def test_plain_causal_and_masked(network):
    network(Attend(), *_tensors(), tasks=["Attention"])
    network(Attend(causal=True), *_tensors(6, 6), tasks=["Attention"])
    network(Attend(), *_tensors(), torch.randn(5, 7), tasks=["Attention"])


def test_views_of_one_projection_are_read_where_they_stand(network):
    module = nn.MultiheadAttention(16, 4, batch_first=True)

    class SelfAttention(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = module

        def forward(self, x):
            return self.inner(x, x, x, need_weights=False)[0]

    made = network(SelfAttention(), torch.randn(1, 6, 16))
    names = [type(task.work).__name__ for task in made.tasks]
    assert names.index("Attention") == 1, "nothing is copied before"
