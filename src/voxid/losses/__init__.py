"""What training minimises: `Loss(config, embedding_dim, n_speakers)`, one loss a file.

Every loss is an `nn.Module` with `forward(emb_BD, labels_B) -> scalar`; `labels_B` are speaker numbers.
"""

from __future__ import annotations

from voxid.registry import Registry

LOSSES = Registry("loss", {"triplet": "voxid.losses.triplet:TripletLoss"})
