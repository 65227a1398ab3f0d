"""What training minimises: `Loss(config, embedding_dim, n_speakers)`, one loss a file.

Every loss is an `nn.Module` with `forward(emb_BD, labels_B) -> scalar`; `labels_B` are class numbers, one
for each speaker (and for each speaker at another speed, where the recipe makes new speakers so). After a
`forward`, `.active` is the share of the batch, 0 to 1, that is still wrong: triplets that violate the margin,
rows that are not recognised. `.needs` says which batches it takes: any "rows", batches with "pairs" of one
speaker, or "triplets". Losses with a margin have `.margin` and `set_margin(value)`, for schedules. Losses
over classes have `.classes`: those beyond it are left out of the comparison.
"""

from __future__ import annotations

from voxid.registry import Registry

LOSSES = Registry(
    "loss",
    {
        "triplet": "voxid.losses.triplet:TripletLoss",
        "hard-triplet": "voxid.losses.hard_triplet:HardTripletLoss",
        "softmax": "voxid.losses.softmax:SoftmaxLoss",
        "am": "voxid.losses.margins:AmLoss",
        "aam": "voxid.losses.margins:AamLoss",
        "distil": "voxid.losses.distil:DistilLoss",
        "sphereface2": "voxid.losses.sphereface2:SphereFace2Loss",
        "ge2e": "voxid.losses.ge2e:Ge2eLoss",
        "angular": "voxid.losses.angular:AngularLoss",
        "supcon": "voxid.losses.supcon:SupConLoss",
    },
    needs=("forward", "needs"),
)
