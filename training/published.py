"""Published accuracy on CIFAR-100 (%) at million multiply-accumulates, read off the figures of the papers to ±0.1.

Crop and flip, 300 epochs, all 50,000 images, no augmentation at test time: a ninth more images than the recipes here
train on, and many times as long as those for two cores.
"""

ANYTIME: dict[str, dict[float, float]] = {
    "MSDNet (arXiv:1703.09844), each exit": {15: 64.6, 26: 67.9, 38: 69.4, 52: 71.5, 62: 72.8, 74: 74.0, 100: 75.4},
    "BoostNet-MSDNet (arXiv:2211.16726), each exit": {
        15: 65.3,
        26: 70.0,
        38: 72.3,
        52: 74.2,
        62: 75.2,
        74: 75.9,
        100: 76.5,
    },
}
LEAVING: dict[str, dict[float, float]] = {
    "BoostNet-MSDNet, leaving by confidence": {25: 73.4, 32: 74.5, 43: 75.6, 64: 75.8},
    "L2W-DEN (arXiv:2209.08310), leaving by confidence": {20: 72.1, 31: 74.3, 72: 76.0},
}
