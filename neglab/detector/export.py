"""A detector as one graph for other runtimes: image tower, text bank and score, with threshold and names inside."""

import json
import logging
import os
import warnings
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize
from torchvision.transforms import Normalize

from neglab import __version__
from neglab.backbone.base import Backbone
from neglab.detector.detector import Detector
from neglab.score.base import BankScore, LocalScore
from neglab.types import TextBank, UserError
from neglab.weights.loading import brief
from neglab.weights.transforms import steps

logger = logging.getLogger(__name__)

Format = Literal["onnx", "torch_export"]
ENDINGS: dict[str, str] = {"onnx": ".onnx", "torch_export": ".pt2"}
TOLERANCE = 1e-4  # of the graph's scores, in units of the score or of its size where that is above 1
LARGEST_FILE = 2**31 - 2**27  # bytes: a protobuf ends at 2 GiB, so weights beyond lie in a file of their own
PROBE_SIZES = (1, 3)  # images of the batches on which a graph is held against the detector
DESCRIPTION = "detector.json"  # in a torch.export archive; an ONNX file has the same in its metadata


class ScoringGraph(nn.Module):
    """From pixels to scores and nearest labels.

    Args:
        backbone: whose image tower.
        scorer: a pure function of image and text bank.
        bank: that of the detector.
    """

    def __init__(self, backbone: Backbone, scorer: BankScore[Any], bank: TextBank) -> None:
        super().__init__()
        self.backbone, self.scorer, self.prepared = backbone, scorer, whole(scorer.prepare(bank))
        self.classes, self.negatives = bank.id_labels.embeddings, bank.negatives.embeddings

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, " B"] | Int[Tensor, " B"], ...]:
        """The ID score of each image, its nearest class and, where there are any, its nearest negative."""
        images = normalize(self.backbone._encode_images(pixels).float(), dim=1)
        found = self.scorer.score_at_once(images, self.prepared), (images @ self.classes.T).argmax(dim=1)
        return (*found, (images @ self.negatives.T).argmax(dim=1)) if len(self.negatives) else found


def whole(prepared: Any) -> Any:
    """What a score prepared, with views copied: a file would hold the larger tensors behind them."""
    if isinstance(prepared, Tensor):
        return prepared.contiguous().clone()
    return replace(prepared, **{field.name: whole(getattr(prepared, field.name)) for field in fields(prepared)})


def export(detector: Detector, path: str | Path, format: Format = "onnx") -> float:
    """Write the graph, once it gives the scores of the detector.

    Its input `pixels` [B, 3, H, W], float32, are images after the detector's transform, any number of them. Its outputs
    are `score` [B], float64, `nearest_class` [B] and, where there are negatives, `nearest_negative` [B]: positions
    among the names. These, the threshold and what is known of the transform are in the file.

    Args:
        detector: on the CPU.
        path: of the file; a model above 2 GiB leaves its weights in PATH.data beside it.
        format: "onnx", or "torch_export" for `torch.export.load`.

    Returns:
        The largest difference between the graph's scores and the detector's, relative where a score is above 1.

    Raises:
        UserError: the score or the backbone cannot be a graph, or one that gives other scores.
    """
    path = Path(path).expanduser()
    graph = ScoringGraph(detector.backbone, score_of_one_image(detector), detector.bank).eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=".export") as folder:
        written = Path(folder) / path.name
        try:
            run = _write(graph, detector, written, format)
        except ModuleNotFoundError as error:
            raise UserError(f"ONNX needs the package {error.name}: pip install 'neglab[export]'") from error
        except Exception as error:  # whatever a tower does that the exporter does not know
            raise UserError(
                f"The graph of model {detector.recipe.model} cannot be exported as {format}: {brief(error)} Choose "
                "the other format, or another backbone."
            ) from error
        difference = _difference(run, detector)
        if not difference <= TOLERANCE:
            raise UserError(
                f"A graph must give the detector's scores within {TOLERANCE:g}; that of method="
                f"{detector.recipe.method} with {detector.recipe.model} is {difference:.3g} off. Choose the other "
                "format, or another method or backbone."
            )
        for file in Path(folder).iterdir():
            os.replace(file, path.parent / file.name)
    return difference


def score_of_one_image(detector: Detector) -> BankScore[Any]:
    """The detector's score; a UserError unless it and the backbone can be a graph from pixels to scores."""
    method, scorer = f"method={detector.recipe.method}", detector.scorer
    instead = "Choose a method that judges each image by itself and by fixed texts, such as method=neglabel."
    if scorer.order_dependent:
        raise UserError(f"{method} learns from the images that it tests, which no graph does. {instead}")
    if scorer.needs_encoder or not isinstance(scorer, BankScore):
        raise UserError(f"{method} encodes texts for each image, so its text tower cannot stay behind. {instead}")
    if isinstance(scorer, LocalScore):
        raise UserError(f"{method} looks at the patches of an image beside the whole; a graph has the whole. {instead}")
    if detector.backbone.precision != "fp32" or detector.backbone.compiled:
        raise UserError(
            "A graph is made of a backbone with backbone.precision=fp32 and backbone.compile=false; got "
            f"{detector.backbone.precision}, compile={detector.backbone.compiled}. Save a detector that has these."
        )
    if detector.device.type != "cpu":
        raise UserError(f"A graph is made on the CPU; the detector is on {detector.device}. Load it with device=cpu.")
    return scorer


def description(detector: Detector) -> dict[str, str]:
    """The metadata of a graph's file: text, and JSON for lists and numbers."""
    found = {
        "neglab": __version__,
        "method": detector.recipe.method,
        "model": detector.recipe.model,
        "threshold": json.dumps(detector.threshold),
        "threshold_origin": detector.threshold_origin,
        "classes": json.dumps(detector.bank.id_labels.names),
        "negatives": json.dumps(detector.bank.negatives.names),
        "transform": " ".join(str(detector.transform).split()),
    }
    for step in steps(detector.transform):
        if isinstance(step, Normalize):
            found |= {"mean": json.dumps(list(map(float, step.mean))), "std": json.dumps(list(map(float, step.std)))}
    return found


def _write(graph: ScoringGraph, detector: Detector, path: Path, format: Format) -> Any:
    """Write the file, and return what runs it: pixels to scores."""
    size = detector.transform(Image.new("RGB", (8, 8))).shape
    batch = {0: torch.export.Dim("batch", min=1)}
    with torch.no_grad():
        program = torch.export.export(graph, (torch.zeros(2, *size),), dynamic_shapes={"pixels": batch})
    _leave_out_unused(program)
    if format == "torch_export":
        torch.export.save(program, path, extra_files={DESCRIPTION: json.dumps(description(detector))})
        module = torch.export.load(path).module()
        return lambda pixels: module(pixels)[0].detach()
    import onnxruntime

    names = ["score", "nearest_class", "nearest_negative"][: 3 if len(graph.negatives) else 2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, on what it does not use
        made = torch.onnx.export(program, dynamo=True, verbose=False, output_names=names)
    if made is None:
        raise RuntimeError("the exporter made nothing")
    made.model.metadata_props.update(description(detector))
    tensors = (*program.state_dict.values(), *program.constants.values())
    weights = sum(value.nbytes for value in tensors if isinstance(value, Tensor))
    made.save(path, external_data=weights > LARGEST_FILE)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda pixels: torch.from_numpy(session.run(["score"], {"pixels": pixels.numpy()})[0])


def _leave_out_unused(program: torch.export.ExportedProgram) -> None:
    """Empty the weights that no step of the graph takes, such as those of the text tower."""
    used = {node.name for node in program.graph.nodes if node.op == "placeholder" and node.users}
    signature = program.graph_signature
    for place, name in {**signature.inputs_to_parameters, **signature.inputs_to_buffers}.items():
        if place not in used and name in program.state_dict:
            program.state_dict[name] = nn.Parameter(torch.empty(0), requires_grad=False)


def _difference(run: Any, detector: Detector) -> float:
    """The largest difference between the scores of both, on batches of several sizes."""
    size = detector.transform(Image.new("RGB", (8, 8))).shape
    draw, found = torch.Generator().manual_seed(0), []
    for count in PROBE_SIZES:
        pixels = torch.randn(count, *size, generator=draw)
        expected = detector.score(pixels)
        found.append(((run(pixels).double() - expected).abs() / expected.abs().clamp_min(1)).max())
    return float(torch.stack(found).max())
