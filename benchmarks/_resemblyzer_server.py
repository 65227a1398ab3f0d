"""The peer of `benchmarks.service`: Resemblyzer behind FastAPI, as its users build it; no store.

    python benchmarks/_resemblyzer_server.py PORT ENROLLED.wav

Runs in an environment of its own, with resemblyzer, fastapi and uvicorn.
"""

import io
import sys

import librosa
import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from resemblyzer import VoiceEncoder, preprocess_wav

app = FastAPI()
encoder = VoiceEncoder("cpu", verbose=False)


def embedded(source) -> np.ndarray:
    wave_S, _ = librosa.load(source, sr=16_000)
    return encoder.embed_utterance(preprocess_wav(wave_S))


ENROLLED_D = embedded(sys.argv[2])


def decided(content: bytes) -> dict:
    """Return the cosine with who is enrolled, against the threshold that examples copy."""
    cosine = float(ENROLLED_D @ embedded(io.BytesIO(content)))
    return {"cosine": cosine, "accepted": cosine > 0.75}


@app.get("/ready")
def ready() -> dict:
    return {}


@app.post("/verify")
async def verify(request: Request) -> dict:
    from starlette.concurrency import run_in_threadpool

    return await run_in_threadpool(decided, await request.body())


uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
