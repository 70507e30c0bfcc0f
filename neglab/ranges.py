"""Ranges of numbers, for annotations: a config that leaves one is refused before anything is built."""

from typing import Annotated

from pydantic import Field

INT64 = 2**63  # what torch can hold

Positive = Annotated[float, Field(gt=0)]
AboveOne = Annotated[float, Field(gt=1)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]
Cosine = Annotated[float, Field(ge=-1, le=1)]
Count = Annotated[int, Field(ge=1, lt=INT64)]
CountOrZero = Annotated[int, Field(ge=0, lt=INT64)]
CountFromTwo = Annotated[int, Field(ge=2, lt=INT64)]
Seed = Annotated[int, Field(ge=0, lt=INT64)]
Port = Annotated[int, Field(ge=0, le=65535)]
