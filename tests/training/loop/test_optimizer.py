import torch
from torch import nn

from nim4asr.training.loop.optimizer import MuonAdamW, OptimizerConfig, is_matrix, orthogonalize


def test_orthogonalized_matrices_have_even_singular_values() -> None:
    torch.manual_seed(0)
    for shape in ((2, 32, 96), (2, 96, 32), (1, 48, 48)):
        matrices = torch.randn(shape) * torch.logspace(0, -1, shape[-1])
        values = torch.linalg.svdvals(orthogonalize(matrices))
        before = torch.linalg.svdvals(matrices)
        assert values.max() < 1.3
        assert values.std() / values.mean() < 0.6 * before.std() / before.mean()


def test_scale_does_not_matter() -> None:
    matrix = torch.randn(1, 20, 30)
    torch.testing.assert_close(orthogonalize(matrix), orthogonalize(matrix * 1e3), atol=1e-4, rtol=1e-3)


def test_which_parameters_are_matrices() -> None:
    weight = torch.zeros(32, 64)
    assert is_matrix("layer_stack.0.ffn1.net.4.weight", weight)
    assert is_matrix("layer_stack.0.conv.pointwise_conv1.weight", torch.zeros(64, 32, 1))
    assert not is_matrix("phoneme_head.net.4.weight", weight)
    assert not is_matrix("llm.model.embed_tokens.weight", weight)
    assert not is_matrix("conv.depthwise_conv.weight", torch.zeros(64, 1, 33))
    assert not is_matrix("norm.weight", torch.zeros(64))
    assert is_matrix("phoneme_embedding.llm.model.layers.0.mlp.up_proj.weight", weight)


def test_it_minimises() -> None:
    torch.manual_seed(0)
    target = torch.randn(32, 32)
    for muon in (True, False):
        model = nn.Linear(32, 32)
        optimizer = MuonAdamW(model.named_parameters(), OptimizerConfig(0.02, muon, weight_decay=0.0))
        first = last = 0.0
        for step in range(400):
            x = torch.randn(64, 32)
            loss = (model(x) - x @ target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            first, last = (loss.item() if step == 0 else first), loss.item()
        assert last < 0.3 * first


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Linear(32, 32)
    model.weight.requires_grad_(False)
    optimizer = MuonAdamW(model.named_parameters(), OptimizerConfig(0.1))
    assert [p.shape for g in optimizer.param_groups for p in g["params"]] == [model.bias.shape]
