"""The interpolation benchmark on synthetic lines of Berthelot et al. 2018 (arXiv 1807.07543, section 4.1, table 1).

  python benchmarks/interpolation_lines.py [--models acai,vae,autoencoder] [--minutes 6] [--steps N]

Each model sees fresh 32 x 32 pictures of a line at a random angle, then 256 paths of 16 pictures between two new lines
are decoded. Mean distance: cosine distance to the nearest true line. Smoothness: largest step of the angle less an
equal step. Both are best at 0. The networks are by default the paper's: 16 channels in the first block, a 2 x 2 x 16
latent, batches of 64. The paper trains each on 2^24 pictures at a constant 1e-4. Here each trains for --steps, or for
about --minutes by the pace of the first 20 steps; the learning rate falls along a cosine, and --ema averages weights.
As in the paper's code the ends of the VAE's paths are drawn from q(z|x); "vae, means" joins its means instead.
"""

# ruff: noqa: E402
import argparse
import time

from competition.process import settle

settle()  # before torch, as the scripts do

import numpy as np
import torch
from lines import SIZE, draw_lines, score_paths

from competition.generative.design import Design
from competition.generative.factory import create_model
from competition.generative.learner import Learner
from competition.generative.model import GenerativeModel
from competition.generative.settings import GenerateSettings
from competition.precision import Precision, pick_device
from competition.runs import counted_seed, environment

PAPER = {"autoencoder": (6.88e-3, 0.44), "vae": (1.21e-3, 0.49), "acai": (0.24e-3, 0.10)}
PATHS, FRAMES, TRIAL_STEPS = 256, 16, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="acai,vae,autoencoder")
    parser.add_argument("--minutes", type=float, default=6.0, help="of each model, where --steps does not say")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, help="of all models; without it the recipe of each")
    parser.add_argument("--kl-weight", type=float, default=1.0)
    parser.add_argument("--critic-weight", type=float, default=0.5)
    parser.add_argument("--ema", type=float, default=0.0)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    values = parser.parse_args()
    print("model         steps   images/s  mean distance e-3 (paper)  smoothness (paper)", flush=True)
    for name in values.models.split(","):
        run(name, values)
    env = environment()
    print(f"{env['processor']}, {torch.get_num_threads()} threads, versions {env['versions']}")


def run(name: str, values: argparse.Namespace) -> None:
    """Train one model and print its row."""
    device = pick_device(values.device)
    # The course of the learning rate needs to know the end, so minutes are turned into steps first.
    steps = values.steps or int(values.minutes * 60 * TRIAL_STEPS / train(name, values, TRIAL_STEPS, device)[1])
    model, seconds = train(name, values, steps, device)
    paper, rate = PAPER[name], steps * values.batch_size / seconds
    rows = [("vae", True), ("vae, means", False)] if name == "vae" else [(name, False)]
    for label, is_drawn in rows:
        distance, smoothness = score_paths(paths(model, is_drawn, values.seed, device))
        print(
            f"{label:12}{steps:7}{rate:11.0f}{distance * 1e3:12.2f} ({paper[0] * 1e3:.2f})"
            f"{smoothness:22.2f} ({paper[1]:.2f})",
            flush=True,
        )


def train(name: str, values: argparse.Namespace, steps: int, device: torch.device) -> tuple[GenerativeModel, float]:
    """Return a model trained for so many steps, and the seconds that took."""
    settings = GenerateSettings(
        model=name, learning_rate=values.learning_rate, schedule="cosine", ema=values.ema, flips=False, seed=values.seed
    )
    torch.manual_seed(counted_seed(values.seed, "weights"))
    design = Design(
        name,
        SIZE,
        ("line",),
        is_conditional=False,
        width=values.width,
        latent=16,
        latent_width=2,
        channels=1,
        kl_weight=values.kl_weight,
        critic_weight=values.critic_weight,
    )
    learner = Learner(create_model(design), settings, steps, Precision(values.precision, True), device)
    labels, start = torch.zeros(values.batch_size, dtype=torch.long), time.perf_counter()
    for step in range(steps):
        angles = np.random.default_rng(counted_seed(values.seed, "lines", step)).uniform(
            0, 2 * np.pi, values.batch_size
        )
        pictures = np.rint((draw_lines(angles) + 1) * 127.5).astype(np.uint8)[..., None]
        losses = learner.take_step(torch.from_numpy(pictures), labels, step)
        if step % 2000 == 1999:
            shown = ", ".join(f"{loss}: {value.item():.5f}" for loss, value in losses.items())
            print(f"  {name}, step {step + 1}, {time.perf_counter() - start:.0f} s, {shown}", flush=True)
    with learner.evaluated() as trained:
        return trained, time.perf_counter() - start


@torch.no_grad()
def paths(model: GenerativeModel, is_drawn: bool, seed: int, device: torch.device) -> np.ndarray:
    """Decode straight paths between codes of new lines, drawn ones of a VAE. -> (PATHS, FRAMES, S, S)."""
    angles = np.random.default_rng(counted_seed(seed, "test lines")).uniform(0, 2 * np.pi, (2, PATHS))
    model.eval()
    noise = torch.Generator(device).manual_seed(counted_seed(seed, "test draws"))
    ends = []
    for lines in (torch.from_numpy(draw_lines(end))[:, None].to(device) for end in angles):
        if is_drawn:
            mean, log_variance = model.distribution(lines)
            drawn = torch.randn(mean.shape, generator=noise, device=device)
            ends.append(mean + (log_variance / 2).exp() * drawn)
        else:
            ends.append(model.encode(lines))
    first, second = ends
    labels = torch.zeros(PATHS, dtype=torch.long, device=device)
    shares = torch.linspace(1, 0, FRAMES)
    frames = [model.decode(share * first + (1 - share) * second, labels)[:, 0] for share in shares.tolist()]
    return torch.stack(frames, dim=1).float().cpu().numpy()


if __name__ == "__main__":
    main()
