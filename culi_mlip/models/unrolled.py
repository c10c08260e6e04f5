"""Allegro's layers with their tensor products written out term by term, for fast evaluation.

nequip-allegro contracts dense arrays of Clebsch-Gordan coefficients, most of which are zero, over
arrays whose last axis is as short as a tensor. Here each component of a tensor is an array of its
own, (edges, channels), which vector units take in one piece, and only the nonzero terms are
computed. Linear layers with nothing between them become one. The weights are the same, and so is
the function, up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

import torch
from nequip.data import AtomicDataDict
from nequip.nn import GraphModuleMixin, scatter, with_edge_vectors_
from torch import Tensor

MOST_TERMS = 400
"""Most products of two components in a layer; beyond, compilers take long and gain little."""


def unrolled(model: Any) -> Any:
    """Write out the tensor products of a model's Allegro layers.

    Parameters
    ----------
    model
        A nequip model, which is changed. One without Allegro layers, or with layers that are built
        in another way than `allegro.model.AllegroModel` builds them, is left as it is.

    Returns
    -------
    torch.nn.Module
        The same model.
    """
    for module in list(model.modules()):
        parts = module._modules
        layers = [parts.get(name) for name in ("scalar_embed_mlp", "tensor_embed", "allegro")]
        if all(layers) and _is_known(*layers):
            parts["allegro"] = UnrolledAllegro(*layers)
            del parts["scalar_embed_mlp"], parts["tensor_embed"]
    return model


class UnrolledAllegro(GraphModuleMixin, torch.nn.Module):
    """Scalar embedding, tensor embedding and layers of an Allegro model, as one module.

    Parameters
    ----------
    scalar_embed_mlp, tensor_embed, allegro
        The modules of nequip-allegro whose place it takes, with their weights.

    References
    ----------
    Musaelian et al., Nat. Commun. 14, 579 (2023), Methods.
    """

    scalar_embed_mlp: Any
    tensor_embed: Any
    allegro: Any

    def __init__(self, scalar_embed_mlp: Any, tensor_embed: Any, allegro: Any) -> None:
        super().__init__()
        self.scalar_embed_mlp, self.tensor_embed = scalar_embed_mlp, tensor_embed
        self.allegro = allegro
        irreps = tensor_embed.sh.irreps_out
        self.n_scalars: int = allegro.num_scalar_features
        self.n_channels: int = allegro.num_tensor_features
        self.n_irreps = len(irreps)
        self.irrep_of = [r for r, (_, irrep) in enumerate(irreps) for _ in range(irrep.dim)]
        self.terms = [_terms(product) for product in allegro.tps]
        GraphModuleMixin._init_irreps(
            self,
            irreps_in=scalar_embed_mlp.irreps_in,
            irreps_out={**tensor_embed.irreps_out, **allegro.irreps_out},
        )

    def forward(self, data: AtomicDataDict.Type) -> AtomicDataDict.Type:
        """Add the scalar features of the edges, shape (edges, scalars · (layers + 1))."""
        embed, allegro = self.tensor_embed, self.allegro
        n_scalars = self.n_scalars
        data = with_edge_vectors_(data, with_lengths=False)
        harmonics = embed.sh(data[AtomicDataDict.EDGE_VECTORS_KEY]).to(embed._output_dtype)
        basis = harmonics.split(1, dim=1)
        center, n_atoms = data[AtomicDataDict.EDGE_INDEX_KEY][0], AtomicDataDict.num_nodes(data)

        # The embedding's last linear layer, then one to tensor weights, one to the first features.
        hidden, last = _before_last(
            self.scalar_embed_mlp.mlp_module, data[self.scalar_embed_mlp.field]
        )
        to_tensor = self._irreps_first(_weight(embed.env_embed_linear.mlp[-1]))
        to_first = self._features_first(_weight(allegro.first_layer_env_embed_projection.mlp[-1]))
        projected = hidden @ (last @ torch.cat([to_tensor, to_first], dim=1))
        n_weights = to_tensor.shape[1]
        tensor = self._weighted(projected[:, :n_weights], basis)
        features = [projected[:, n_weights : n_weights + n_scalars]]
        weights = projected[:, n_weights + n_scalars :]

        for latent, product, terms in zip(allegro.latents, allegro.tps, self.terms, strict=True):
            edges = torch.cat(self._weighted(weights, basis), dim=1)
            data[AtomicDataDict.NODE_FEATURES_KEY] = scatter(edges, center, dim=0, dim_size=n_atoms)
            data = allegro.avg_num_neighbors_norm(data)
            around = torch.index_select(data[AtomicDataDict.NODE_FEATURES_KEY], 0, center)
            environment = around.split(self.n_channels, dim=1)
            tensor = _contracted(tensor, environment, product.weights, terms)
            hidden, last = _before_last(latent, torch.cat([*features, tensor[0]], dim=1))
            new = hidden @ self._features_first(last)
            features.append(new[:, :n_scalars])
            weights = new[:, n_scalars:]
        data[allegro.scalar_out_field] = torch.cat(features, dim=1)
        return data

    def _weighted(self, weights: Tensor, basis: Iterable[Tensor]) -> list[Tensor]:
        """Spherical harmonics times the weights of their irreps, (edges, channels) a component."""
        of_irrep = weights.split(self.n_channels, dim=1)
        return [of_irrep[r] * y for r, y in zip(self.irrep_of, basis, strict=True)]

    def _irreps_first(self, weight: Tensor) -> Tensor:
        """Reorder columns from (channel, irrep) to (irrep, channel)."""
        rows = weight.shape[0]
        return weight.view(rows, -1, self.n_irreps).transpose(1, 2).reshape(rows, -1)

    def _features_first(self, weight: Tensor) -> Tensor:
        """Reorder the columns of tensor weights behind those of scalar features, if there are."""
        features, weights = weight[:, : self.n_scalars], weight[:, self.n_scalars :]
        return torch.cat([features, self._irreps_first(weights)], dim=1)


def _contracted(
    tensor: Iterable[Tensor], environment: Iterable[Tensor], weights: Tensor, terms: Any
) -> list[Tensor]:
    """The tensor product, from components to components, all (edges, channels)."""
    first, second = list(tensor), list(environment)
    components: dict[int, Tensor] = {}
    for (k, path), factors in terms.items():
        parts = [
            reduce(torch.add, [first[i] * second[j] for i, j in pairs]) * value
            for value, pairs in factors.items()
        ]
        term = reduce(torch.add, parts) * (weights if path is None else weights[..., path])
        components[k] = term if k not in components else components[k] + term
    return [components[k] for k in sorted(components)]


def _terms(product: Any) -> dict[tuple[int, int | None], dict[float, list[tuple[int, int]]]]:
    """The nonzero terms of a product: by output component and path, by coefficient, (i, j)."""
    w3j = product.w3j if product.num_paths > 1 else product.w3j.unsqueeze(0)
    terms: dict[tuple[int, int | None], dict[float, list[tuple[int, int]]]] = {}
    for place in w3j.nonzero():
        path, *components = place.tolist()
        value = w3j[tuple(place)].item()
        i, j, k = components[0], components[-2], components[-1]  # i is j in a diagonal product
        product_of = (k, path if product.num_paths > 1 else None)
        terms.setdefault(product_of, {}).setdefault(value, []).append((i, j))
    return terms


def _before_last(mlp: Any, values: Tensor) -> tuple[Tensor, Tensor]:
    """An MLP's values before its last linear layer, and that layer's weight."""
    *layers, last = mlp.mlp
    for layer in layers:
        values = layer(values)
    return values, _weight(last)


def _weight(linear: Any) -> Tensor:
    weight: Tensor = linear.weight * linear.alpha
    return weight


def _is_known(scalar_embed_mlp: Any, tensor_embed: Any, allegro: Any) -> bool:
    """Whether the modules are built as `UnrolledAllegro` takes them."""
    mlps = [scalar_embed_mlp.mlp_module, tensor_embed.env_embed_linear]
    mlps += [allegro.first_layer_env_embed_projection, *allegro.latents]
    return (
        type(allegro).__name__ == "Allegro_Module"
        and tensor_embed._edge_weighter.weight_individual_irreps
        and allegro._env_weighter.weight_individual_irreps
        and all(isinstance(mlp.mlp, torch.nn.Sequential) and not mlp.bias for mlp in mlps)
        and all(type(product).__name__ == "Contracter" for product in allegro.tps)
        and all(int(product.w3j.count_nonzero()) <= MOST_TERMS for product in allegro.tps)
    )
