"""Networks that turn features into one embedding: `Encoder(config, input_dim)`, one network a file.

Every encoder is an `nn.Module` with `.dim` and `forward(feat_BTF, frames_B=None) -> emb_BD`, where row b
has `frames_B[b]` valid frames (None: all of them) and comes out as if it had been alone. `.splits_by_rows`
says whether that holds in training too, so that `encoders.threads` may give its rows to several threads.
"""

from __future__ import annotations

from voxid.registry import Registry

ENCODERS = Registry(
    "encoder",
    {
        "campplus": "voxid.encoders.campplus:CamPlusEncoder",
        "ecapa": "voxid.encoders.ecapa:EcapaEncoder",
        "lstm": "voxid.encoders.lstm:LstmEncoder",
        "redimnet": "voxid.encoders.redimnet:ReDimNetEncoder",
        "resnet": "voxid.encoders.resnet:ResNetEncoder",
        "transformer": "voxid.encoders.transformer:TransformerEncoder",
        "xvector": "voxid.encoders.xvector:XVectorEncoder",
    },
    needs=("forward",),
)
