"""Networks, training, extraction: the rooms that import torch and timm, besides evaluation and reconstruction."""
