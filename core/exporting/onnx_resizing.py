"""Images of any size brought to the size that a network reads, within an ONNX graph.

As `preprocessing` does it: what stands over the network's shape is cut off evenly, whole rows and
columns of it, and the rest scaled by bicubic interpolation that is antialiased.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

# `$` stands for the name of the result. The kernel is that of torch and of Pillow.
_FITTING = """
fitting (float[N, 3, height, width] {image}) => (float[N, 3, {height}, {width}] $) {{
  $_one = Constant <value_ints = [1]> ()
  $_two = Constant <value_ints = [2]> ()
  $_height = Constant <value = double[1] {{{height}.0}}> ()
  $_width = Constant <value = double[1] {{{width}.0}}> ()
  $_all_rows = Shape <start = 2, end = 3> ({image})
  $_all_columns = Shape <start = 3, end = 4> ({image})
  $_rows = Cast <to = 11> ($_all_rows)
  $_columns = Cast <to = 11> ($_all_columns)

  $_rows_by_width = Mul ($_rows, $_width)
  $_columns_exactly = Div ($_rows_by_width, $_height)
  $_columns_rounded = Round ($_columns_exactly)
  $_columns_whole = Cast <to = 7> ($_columns_rounded)
  $_columns_of_all_rows = Max ($_columns_whole, $_one)
  $_columns_by_height = Mul ($_columns, $_height)
  $_rows_exactly = Div ($_columns_by_height, $_width)
  $_rows_rounded = Round ($_rows_exactly)
  $_rows_whole = Cast <to = 7> ($_rows_rounded)
  $_rows_of_all_columns = Max ($_rows_whole, $_one)

  $_is_high = Greater ($_columns_of_all_rows, $_all_columns)
  $_kept_rows = Where ($_is_high, $_rows_of_all_columns, $_all_rows)
  $_kept_columns = Min ($_columns_of_all_rows, $_all_columns)
  $_all = Concat <axis = 0> ($_all_rows, $_all_columns)
  $_kept = Concat <axis = 0> ($_kept_rows, $_kept_columns)
  $_over = Sub ($_all, $_kept)
  $_start = Div ($_over, $_two)
  $_end = Add ($_start, $_kept)
  $_axes = Constant <value_ints = [2, 3]> ()
  $_cut = Slice ({image}, $_start, $_end, $_axes)

  $_size = Constant <value_ints = [{height}, {width}]> ()
  $_scaled = Resize <
    mode = "cubic", antialias = 1, axes = [2, 3], cubic_coeff_a = -0.5, exclude_outside = 1
  > ($_cut, , , $_size)
  $_black = Constant <value_float = 0.0> ()
  $_white = Constant <value_float = 1.0> ()
  $ = Clip ($_scaled, $_black, $_white)
}}
"""


def read_any_size(model: onnx.ModelProto, image: str) -> None:
    """Let a model read images of any size in place of the same images in several of its own.

    Args:
        model: It is changed. Its inputs are float32 (N, 3, height, width), each of one size.
        image: What its only input is called from then on.
    """
    inputs = list(model.graph.input)
    fitting = [_fitting(image, value) for value in inputs]
    nodes = [node for graph in fitting for node in graph.node] + list(model.graph.node)
    del model.graph.input[:], model.graph.node[:]
    model.graph.input.append(fitting[0].input[0])
    model.graph.node.extend(nodes)


def _fitting(image: str, fitted: onnx.ValueInfoProto) -> onnx.GraphProto:
    """Return the graph that makes one input of the images."""
    import onnx.parser  # noqa: PLC0415 -- of the extra `onnx`

    height, width = (one.dim_value for one in fitted.type.tensor_type.shape.dim[2:])
    text = _FITTING.format(height=height, width=width, image=image)
    return onnx.parser.parse_graph(text.replace("$", fitted.name))
