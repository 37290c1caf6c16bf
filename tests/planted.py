"""Synthetic pictures whose class is the colour of one planted square, and networks that learn it in seconds."""

import torch

from competition.models.factory import create_network

SIDE, PATCH, GRID = 32, 12, 4  # px; squares lie on the grid, so no token of a transformer is half covered


def planted(count, seed):
    """Return pictures (N, 3, 32, 32), classes (N,) and the squares' top left corners (N, 2)."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, SIDE, SIDE, generator=generator) * 0.1
    labels = torch.arange(count) % 3
    corners = torch.randint(0, (SIDE - PATCH) // GRID + 1, (count, 2), generator=generator) * GRID
    for image, label, (top, left) in zip(images, labels, corners.tolist(), strict=True):
        square = image[:, top : top + PATCH, left : left + PATCH]
        square -= 0.7
        square[label] += 2.0
    return images, labels, corners


def learned(name, steps, learning_rate=3e-3, keep_local=False, **options):
    """Return a network trained on planted squares, in eval mode.

    ``keep_local`` takes the attention out of a transformer: its tokens then know their own place alone, and a map that
    points elsewhere has laid them out wrongly.
    """
    torch.manual_seed(0)
    network = create_network(name, 3, image_size=SIDE, options=options).train()
    for block in network.blocks if keep_local else []:
        for parameter in block.attn.proj.parameters():
            torch.nn.init.zeros_(parameter).requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=learning_rate)
    images, labels, _ = planted(240, seed=1)
    for step in range(steps):
        batch = (torch.arange(48) + step * 48) % len(images)
        loss = torch.nn.functional.cross_entropy(network(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


class Small(torch.nn.Module):
    """A linear network of a machine whose memory holds so many pictures at once."""

    def __init__(self, room):
        super().__init__()
        self.inside, self.room = torch.nn.Linear(3 * 8 * 8, 3), room

    def forward(self, x):
        if len(x) > self.room:
            raise torch.OutOfMemoryError("out of memory")
        return self.inside(x.flatten(1))


def pointing_accuracy(maps, corners):
    """Return the share of maps (N, 32, 32) whose highest place lies in the planted square."""
    places = maps.flatten(1).argmax(dim=1)
    rows, columns = places // SIDE, places % SIDE
    tops, lefts = corners.T
    inside = (rows >= tops) & (rows < tops + PATCH) & (columns >= lefts) & (columns < lefts + PATCH)
    return inside.float().mean().item()
