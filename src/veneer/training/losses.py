"""The loss of a micro-batch: the objective put together with the network, once, before the loop."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from veneer.config import Recipe, TrainTable
from veneer.lora.adapter import detached
from veneer.training.batches import MicroBatch
from veneer.training.diffusion import Distance, Objective, item_losses, scheduled_huber, squared_error
from veneer.training.network import Network

Loss = Callable[[MicroBatch], Tensor]


def build_objective(network: Network, train: TrainTable) -> Objective:
    """Choose target, distance and weights.

    Returns:
        The objective, its tables on the network's device.
    """
    device = next(iter(network.parameters.values())).device
    weights = network.path.weights(train.loss_weighting, train.snr_gamma).float().to(device)
    distance: Distance
    match train.loss_type:
        case "l2":
            distance = squared_error
        case "huber":
            distance = scheduled_huber(network.num_timesteps)
    return Objective(network.path.to(device), distance, weights)


def diffusion_loss(network: Network, objective: Objective, batch: MicroBatch) -> Tensor:
    """Loss of a micro-batch, weighted as its share of the step's mean.

    Args:
        batch: The pictures, on the network's device.

    Returns:
        A scalar, float32.
    """
    noisy_latents = objective.path.mix(batch.latents, batch.input_noise, batch.timesteps)
    model_pred = network.predict(noisy_latents, batch.timesteps, network.conditioning(batch))
    target = objective.path.target(batch.latents, batch.noise, batch.timesteps)
    losses = item_losses(objective, model_pred, target, batch.timesteps, batch.masks)
    return (losses * batch.weights).sum()


def build_loss(network: Network, objective: Objective, recipe: Recipe) -> Loss:
    """Choose the loss of the loop.

    Returns:
        A function of a micro-batch that gives a scalar, float32.
    """
    weight = recipe.train.prior_loss_weight

    def plain(batch: MicroBatch) -> Tensor:
        return diffusion_loss(network, objective, batch)

    def with_prior(batch: MicroBatch) -> Tensor:
        return plain(batch) + weight * prior_prediction_loss(network, objective, batch)

    loss = with_prior if weight and not recipe.train.prior_sources else plain
    return with_dropout_seed(loss) if recipe.lora.dropout else loss


def with_dropout_seed(loss: Loss) -> Loss:
    """Draw the adapter's dropout by the batch's own seed, and leave torch's generators as they were.

    Returns:
        The same loss, a function of the batch alone.
    """

    def seeded(batch: MicroBatch) -> Tensor:
        device = batch.latents.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(batch.dropout_seed)
            return loss(batch)

    return seeded


def prior_prediction_loss(network: Network, objective: Objective, batch: MicroBatch) -> Tensor:
    """Distance to what the base itself predicts where nothing calls the style.

    Args:
        batch: The pictures, with embeddings of their captions without prefix and trigger.

    Returns:
        A scalar, float32; 0 at the first step.

    Source: Ruiz et al. 2023, "DreamBooth", section 3.2, with the adapter switched off in the place of
        pictures.
    """
    if not batch.prior:
        return batch.weights.new_zeros(())
    noisy_latents = objective.path.mix(batch.latents, batch.input_noise, batch.timesteps)
    with torch.no_grad(), detached(network.unet):
        target = network.predict(noisy_latents, batch.timesteps, batch.prior)
    model_pred = network.predict(noisy_latents, batch.timesteps, batch.prior)
    losses = (model_pred.float() - target.float()).square().mean(dim=(1, 2, 3))
    return (losses * batch.weights).sum()
