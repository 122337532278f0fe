"""The mapping session that the node's parameters ask for, and what goes with it: the viewer, queries by text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cgc_ros.ros.parameters import NodeParameters

if TYPE_CHECKING:
    from cgc_ros.mapping import MappingSession
    from cgc_ros.masks.process import MaskProcess
    from cgc_ros.ros.text_query import TextQuery
    from cgc_ros.viewer import MapViewer


def create_session(parameters: NodeParameters) -> MappingSession:
    """A session, not yet started. Raises ValueError or OSError where the mapper or the mask source cannot be made."""
    if parameters.mapper.recipe != "default":
        raise ValueError(
            f"mapper.recipe is {parameters.mapper.recipe!r}, an offline baseline that starts to train only once all "
            "frames are there: set it to 'default' for the node, or map a recording with `cgc map --recipe paper`"
        )

    masks = _mask_source(parameters)
    from cgc_ros.mapping import Mapper, MappingSession  # slow to import, meanwhile masks get ready

    return MappingSession(
        Mapper(parameters.mapper),
        None if masks is None else masks.wait_until_ready(),
        snapshot_period=parameters.snapshot_period,
        max_steps_per_second=parameters.max_steps_per_second,
        mask_timeout=parameters.mask_timeout,
    )


def create_text_query(session: MappingSession, parameters: NodeParameters) -> TextQuery | None:
    """What answers queries by text; None where no encoder is asked for. Raises TextEncoderError."""
    if not parameters.text_encoder_checkpoint:
        return None
    from cgc_ros.mapping.text_search import TextSearch
    from cgc_ros.ros.text_query import TextQuery
    from cgc_ros.segmentation.text_encoder import OpenClipEncoder

    encoder = OpenClipEncoder(parameters.text_encoder_checkpoint, parameters.text_encoder_model)
    return TextQuery(session, TextSearch(encoder))


class ViewerUnavailableError(RuntimeError):
    """The viewer cannot be served; the message says why."""


def start_viewer(session: MappingSession, host: str, port: int) -> MapViewer:
    """The live web viewer of a session, serving. Raises ViewerUnavailableError."""
    try:
        from cgc_ros.viewer import MapViewer, ViewerError
    except ImportError as error:
        raise ViewerUnavailableError(f"{error.name} is not installed") from error
    viewer = MapViewer(session, host=host, port=port)
    try:
        viewer.start()
    except ViewerError as error:
        raise ViewerUnavailableError(str(error)) from error
    return viewer


def _mask_source(parameters: NodeParameters) -> MaskProcess | None:
    """None where masks come with the frames, or not at all."""
    if parameters.mask_source in ("topic", "none"):
        return None
    from cgc_ros.masks.process import MaskProcess

    niceness = 0  # StepBack raises it, and training's, once there are objects
    if parameters.mask_source == "sam":
        checkpoint = _file(parameters, "sam_checkpoint", "download a segment-anything checkpoint and give its path")
        return MaskProcess("sam", niceness, checkpoint=checkpoint, model_type=parameters.sam_model)
    if parameters.mask_source == "onnx":
        model = _file(parameters, "onnx_model", "give the path of a model (docs/masks.md)")
        return MaskProcess("onnx", niceness, model=model)
    return MaskProcess(parameters.mask_source, niceness)


def _file(parameters: NodeParameters, name: str, remedy: str) -> str:
    """The path that a parameter of the mask source names; FileNotFoundError where there is no file."""
    value = getattr(parameters, name)
    path = Path(value).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"mask_source is {parameters.mask_source!r} and {name} {value!r} is no file: {remedy}")
    return str(path)
