"""Networks: one door onto timm's registry, our own networks in it, transfer, freezing and parameter budgets."""
