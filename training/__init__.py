"""Training by self-distillation (Zhang et al., arXiv:1905.08094): a checkpoint from images."""
