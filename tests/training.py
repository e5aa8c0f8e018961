"""What tests of training share."""

import re

from internvl.models.internvl import InternVLModel

#: Our parameters -> the reference's groups.
GROUPS = {
    r"vision\.": "vision_model",
    r"projector\.": "mlp1",
    r"decoder\.embed\.": "embed_tokens",
    r"decoder\.lm_head\.": "lm_head",
    r"decoder\.": "language_model",
}


def group_norms(model: InternVLModel) -> dict[str, float]:
    """Norm of the gradients of each part, under the reference's names."""
    squares = {}
    for name, parameter in model.named_parameters():
        group = next(group for pattern, group in GROUPS.items() if re.match(pattern, name))
        if parameter.grad is not None:
            squares[group] = squares.get(group, 0.0) + parameter.grad.double().square().sum().item()
    return {group: square**0.5 for group, square in squares.items()}
