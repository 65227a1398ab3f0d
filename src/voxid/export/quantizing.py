"""The encoder in 8 bits: weights and activations as integers, by onnxruntime's quantization.

Shapes: T frames, F features per frame.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quant_pre_process,
    quantize_static,
)

OPERATIONS = ["Conv", "MatMul", "Gemm"]  # what costs time; all else stays in 32 bits


def quantize(encoder: Path, feats_TF: Sequence[np.ndarray]) -> bytes:
    """Return the encoder's graph with integer weights inside; `feats_TF` show the activations' range."""
    with tempfile.TemporaryDirectory() as folder:
        names = ("whole", "prepared", "int8")
        whole, prepared, quantized = (Path(folder) / f"{name}.onnx" for name in names)
        onnx.save(onnx.load(encoder), whole)  # weights inside: these tools look nowhere else
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantized,
            _Features(feats_TF),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=OPERATIONS,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"ActivationSymmetric": False, "DedicatedQDQPair": True},
        )
        return quantized.read_bytes()


class _Features(CalibrationDataReader):
    """Hands out features one utterance at a time."""

    def __init__(self, feats_TF: Sequence[np.ndarray]) -> None:
        self._inputs = iter([{"features": feat_TF[None]} for feat_TF in feats_TF])

    def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
        """Return the next input, or None after the last."""
        return next(self._inputs, None)
