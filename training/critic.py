"""A patch discriminator: what looks like a picture of a person, and what does not."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.run import CPU, Stateful, Workers


class Discriminator(nn.Module):
    """Tells patches of true pictures from made ones; spectrally normalised."""

    def __init__(self, base: int = 32) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.spectral_norm
        widths = (4, base, 2 * base, 4 * base)
        self.layers = nn.ModuleList(
            norm(nn.Conv2d(a, b, 4, stride=2, padding=1))
            for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.head = norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Scores per patch and the features of each layer, for pictures with alpha [B, 4, H, W]."""
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.head(x).float(), features

    def settle(self) -> None:
        """Bring the spectral norms up to date, and leave them alone from then on.

        Workers share the network: its norms must not change while they use it.
        """
        self.train()
        with torch.no_grad():
            self(torch.zeros(1, 4, 16, 16, device=self.head.bias.device))
        self.eval()


class Critic:
    """A discriminator with its optimizer. The workers share it."""

    def __init__(self, device: torch.device = CPU) -> None:
        self.network = Discriminator().to(device, memory_format=torch.channels_last)
        self._optimizer = torch.optim.Adam(self.network.parameters(), 4e-4, betas=(0.5, 0.9))
        self.network.eval()

    def learn(
        self, workers: Workers, pictures: dict[int, tuple[Tensor, Tensor]]
    ) -> dict[str, float]:
        """One step on what each worker made and the truth beside it. Returns the losses."""
        self.network.settle()
        losses = workers.gradients(
            list(self.network.parameters()),
            lambda worker: discriminator_loss(self.network, *pictures[worker]),
        )
        self._optimizer.step()
        return losses

    @property
    def parts(self) -> dict[str, Stateful]:
        """For the checkpoint."""
        return {"critic": self.network, "critic_optimizer": self._optimizer}


def on(rgba: Tensor, backdrop: Tensor) -> Tensor:
    """Compose on a plain colour and keep alpha. [N, 4, H, W]"""
    alpha = rgba[:, 3:]
    return torch.cat([rgba[:, :3] + (1 - alpha) * backdrop, alpha], 1)


def discriminator_loss(
    discriminator: Discriminator, picture: Tensor, truth: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Hinge loss of made against true pictures."""
    with torch.autocast(picture.device.type, torch.bfloat16, cache_enabled=False):
        fake, _ = discriminator(picture.to(memory_format=torch.channels_last))
        real, _ = discriminator(truth.to(memory_format=torch.channels_last))
    total = F.relu(1 + fake).mean() + F.relu(1 - real).mean()
    return total, {"told apart": float(total.detach())}
