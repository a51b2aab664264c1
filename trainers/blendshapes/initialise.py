"""Initial weights of the networks for blendshapes."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

RULES: dict[str, Callable[[Tensor], Tensor]] = {
    "xavier": nn.init.xavier_uniform_,
    "kaiming": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "orthogonal": nn.init.orthogonal_,
}
"""Glorot and Bengio 2010, He et al. 2015, Saxe et al. 2014."""


@torch.no_grad()
def initialise(model: nn.Module, rule: str, answer: nn.Linear) -> None:
    """Initialise every layer of the model by one of RULES; `default` keeps PyTorch's weights.

    Biases are 0, those of the forget gates of an LSTM 1 as in Keras; each gate's matrix is initialised on its
    own. With `kaiming`, whose gain is for a ReLU, the layer `answer` is initialised by `xavier`.
    """
    if rule == "default":
        return
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            RULES["xavier" if layer is answer and rule == "kaiming" else rule](layer.weight)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.LSTM):
            _initialise_lstm(layer, RULES[rule])


def _initialise_lstm(layer: nn.LSTM, rule: Callable[[Tensor], Tensor]) -> None:
    for name, values in layer.named_parameters():
        if values.ndim == 2:
            for gate in values.chunk(4):
                rule(gate)
        else:
            values.zero_()
            if name.startswith("bias_ih"):
                values[layer.hidden_size : 2 * layer.hidden_size] = 1.0
