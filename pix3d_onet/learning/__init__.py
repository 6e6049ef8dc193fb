"""Networks, training, evaluation, extraction: the only room that imports torch and timm."""
