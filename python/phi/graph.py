"""Builds ONNX graphs node by node (opset 13, IR version 8) and runs them on one thread of ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto


def _attribute(name, value):
    if isinstance(value, list):
        return AttributeProto(name=name, type=AttributeProto.INTS, ints=value)
    return AttributeProto(name=name, type=AttributeProto.INT, i=value)


def _tensor(name, array):
    array = np.ascontiguousarray(array)
    kind = TensorProto.INT64 if array.dtype == np.int64 else TensorProto.FLOAT
    return TensorProto(name=name, dims=array.shape, data_type=kind, raw_data=array.tobytes())


def _value(name, shape):
    info = ValueInfoProto(name=name)
    info.type.tensor_type.elem_type = TensorProto.FLOAT
    for extent in shape:
        dimension = info.type.tensor_type.shape.dim.add()
        if isinstance(extent, str):
            dimension.dim_param = extent
        else:
            dimension.dim_value = extent
    return info


class Graph:
    """`graph(operator, *inputs, **attributes)` appends a node and returns the name of its output; arrays become initializers."""

    def __init__(self, shape):
        self.nodes, self.constants, self.count, self.shape = [], [], 0, shape

    def ints(self, *values):
        """A constant list of whole numbers: shapes, axes, positions."""
        return np.array(values, np.int64)

    def _constant(self, array):
        whole = isinstance(array, np.ndarray) and array.dtype == np.int64
        self.count += 1
        name = f"k{self.count}"
        self.constants.append(_tensor(name, np.asarray(array, np.int64 if whole else np.float32)))
        return name

    def __call__(self, operator, *inputs, **attributes):
        self.count += 1
        output = f"{operator.lower()}{self.count}_0"
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        node = NodeProto(op_type=operator, input=names, output=[output])
        node.attribute.extend(_attribute(name, value) for name, value in sorted(attributes.items()))
        self.nodes.append(node)
        return output

    def model(self, output, shape=("N", "D")):
        """The finished model, from input `x` to `output`."""
        values = {"input": [_value("x", self.shape)], "output": [_value(output, shape)]}
        graph = GraphProto(name="g", node=self.nodes, initializer=self.constants, **values)
        model = ModelProto(ir_version=8, graph=graph, opset_import=[OperatorSetIdProto(domain="", version=13)])
        onnx.checker.check_model(model)
        return model


def run(model, images, batch=8):
    """What a model gives for 8-bit images (N, height, width, 3), which it gets as RGB planes of 0 to 1."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = 1, 1, 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    outputs = []
    for start in range(0, len(images), batch):
        planes = np.ascontiguousarray(images[start : start + batch].transpose(0, 3, 1, 2)).astype(np.float32) / 255
        outputs.append(session.run(None, {"x": planes})[0])
    return np.concatenate(outputs)
