"""The routes of `/v1`: each one is a call of the library, asked and answered over HTTP."""

from __future__ import annotations

from fastapi import APIRouter

from voxid.server.answers import Problem
from voxid.server.routes import administration, people, questions
from voxid.server.routes.shared import PROBLEMS

router = APIRouter(prefix="/v1", responses={**PROBLEMS, 400: {**PROBLEMS[400], "model": Problem}})
for part in (questions, people, administration):
    router.include_router(part.router)
