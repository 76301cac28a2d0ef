"""The network for the digits learns them in seconds."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from modpm.core.data import default_statistics, load_data, normalize
from modpm.core.networks import create


def test_digits_cnn_learns_the_digits_in_eight_epochs() -> None:
    torch.manual_seed(0)
    train, test = load_data("digits", "train"), load_data("digits", "test")
    mean, std = default_statistics(train)
    images = normalize(train.images, mean, std)
    network = create("digits_cnn", 10, in_channels=1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    for _ in range(8):
        for part in torch.randperm(len(train)).chunk(20):
            optimizer.zero_grad()
            torch.autograd.backward(cross_entropy(network(images[part]), train.labels[part]))
            optimizer.step()
    with torch.inference_mode():
        predicted = network.eval()(normalize(test.images, mean, std)).argmax(1)
    # Measured 0.989 with ten epochs; 450 images, so three standard deviations are 0.015.
    assert (predicted == test.labels).float().mean() >= 0.97
