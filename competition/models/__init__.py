"""Networks: one door onto timm's registry, our own networks in it, transfer, freezing and parameter budgets."""

from competition.torchvision_operators import declare_missing_operators

declare_missing_operators()  # every module in here imports timm, and timm imports torchvision
