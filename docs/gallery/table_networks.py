"""Two networks for tables, trained on data that come with scikit-learn.

Usage: ``python table_networks.py FOLDER``. It writes into the folder, and prints how
good the networks are on rows that they were not trained on:

- ``patients.csv``: diabetes after a year, of Efron et al. (2004), whose progression a
  network is trained to give; ``patients_training.csv`` has the rows of the training,
  ``patients.safetensors`` the weights;
- ``tumours.csv``, ``tumours_training.csv`` and ``tumours.safetensors``: benign or not,
  of Street et al. (1993).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_breast_cancer, load_diabetes
from torch import Tensor, nn
from torch.nn import functional

TEST_SHARE = 0.3
NUMBERS = ("age", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")


class ProgressionNetwork(nn.Module):
    """Nine numbers and the sex of a patient; gives how far the disease has come."""

    def __init__(self) -> None:
        super().__init__()
        self.sex = nn.Embedding(2, 4)
        self.first = nn.Linear(len(NUMBERS) + 4, 32)
        self.second = nn.Linear(32, 16)
        self.progression = nn.Linear(16, 1)

    def forward(self, numbers: Tensor, sex: Tensor) -> Tensor:
        """Return the progression, shape (instance, 1)."""
        row = torch.cat([numbers, self.sex(sex)], 1)
        return self.progression(torch.relu(self.second(torch.relu(self.first(row)))))


def tumour_network() -> nn.Module:
    """Return a perceptron for the thirty measurements of a tumour."""
    return nn.Sequential(
        nn.Linear(30, 24), nn.ReLU(), nn.Linear(24, 12), nn.ReLU(), nn.Linear(12, 2)
    )


def read_patients() -> pd.DataFrame:
    """Return the patients; the data do not say which sex is 1, and which is 2."""
    found = load_diabetes(as_frame=True, scaled=False)
    return with_part(found.data.astype({"sex": int}).assign(progression=found.target))


def read_tumours() -> pd.DataFrame:
    """Return the tumours with their kind."""
    found = load_breast_cancer(as_frame=True)
    names = found.target_names[found.target]
    return with_part(found.data.assign(label=names))


def with_part(frame: pd.DataFrame) -> pd.DataFrame:
    """Say of each row whether it is for the training or for the test."""
    is_test = np.random.default_rng(0).random(len(frame)) < TEST_SHARE
    return frame.assign(part=np.where(is_test, "test", "training"))


def scaled(frame: pd.DataFrame, columns: list[str]) -> Tensor:
    """Return columns less their mean in the training, in standard deviations of it."""
    training = frame.loc[frame["part"] == "training", columns]
    values = (frame[columns] - training.mean()) / training.std(ddof=0)
    return torch.tensor(values.to_numpy(), dtype=torch.float32)


def train(
    network: nn.Module, inputs: tuple[Tensor, ...], target: Tensor, epochs: int
) -> None:
    """Train on all rows at once: a regression if the target is real."""
    loss_of = (
        functional.mse_loss
        if target.is_floating_point()
        else (functional.cross_entropy)
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(epochs):
        optimizer.zero_grad()
        loss = loss_of(network(*inputs), target)
        loss.backward()
        optimizer.step()
    network.eval()


def train_patients(folder: Path) -> None:
    """Train the regression."""
    frame = read_patients()
    is_test = torch.tensor(frame["part"] == "test")
    numbers = scaled(frame, list(NUMBERS))
    sex = torch.tensor(frame["sex"].to_numpy() - 1)
    target = torch.tensor(frame[["progression"]].to_numpy(), dtype=torch.float32)
    network = ProgressionNetwork()
    with torch.no_grad():
        network.progression.bias.fill_(target[~is_test].mean())
    train(network, (numbers[~is_test], sex[~is_test]), target[~is_test], epochs=200)
    with torch.no_grad():
        errors = (network(numbers[is_test], sex[is_test]) - target[is_test]).numpy()
    share = 1 - errors.var() / target[is_test].numpy().var()
    print(
        f"patients: off by {np.abs(errors).mean():.1f} on average, "
        f"{share:.0%} of the variance of {len(errors)} others explained"
    )
    write(frame, network, folder, "patients")


def train_tumours(folder: Path) -> None:
    """Train the classifier."""
    frame = read_tumours()
    is_test = torch.tensor(frame["part"] == "test")
    values = scaled(frame, list(frame.columns[:30]))
    target = torch.tensor(frame["label"] == "malignant").long()
    network = tumour_network()
    train(network, (values[~is_test],), target[~is_test], epochs=100)
    with torch.no_grad():
        right = network(values[is_test]).argmax(1) == target[is_test]
    print(f"tumours: {right.float().mean():.1%} of {len(right)} others right")
    write(frame, network, folder, "tumours")


def write(frame: pd.DataFrame, network: nn.Module, folder: Path, name: str) -> None:
    """Write the table, the rows of the training, and the weights."""
    frame.to_csv(folder / f"{name}.csv", index=False)
    training = frame[frame["part"] == "training"]
    training.to_csv(folder / f"{name}_training.csv", index=False)
    save_file(network.state_dict(), folder / f"{name}.safetensors")


def main(folder: Path) -> None:
    """Make both tables, and train both networks."""
    torch.manual_seed(0)
    train_patients(folder)
    train_tumours(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
