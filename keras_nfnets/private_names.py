"""Lists the private names of other packages that this package uses.

A release of Keras may drop such a name without notice. `check` then raises one
error when this package is imported, rather than a training step later. It looks
at the names of Keras for the backend in use; the tests look at those of
TensorFlow as well.

Code that uses another private name needs a row in `PRIVATE_NAMES`:
`tests/test_private_names.py` finds names without a row and rows without a use.
"""

import dataclasses
import inspect
import operator

# The oldest Keras that pyproject.toml allows, that of Colab, and the newest.
TESTED = ("3.10.0", "3.13.2", "3.15.1")


@dataclasses.dataclass(frozen=True)
class PrivateName:
    """Describes a name that another package does not export.

    Args:
        path: String, the name with the module or class that has it.
        modules: Tuple of strings, the modules of this package that use it.
        why: String, what it is used for.
        made_in: String, the method that gives it to an object where the class
            has no such attribute. Defaults to `""`.
        backend: String, the only backend on which it is used. Defaults to `""`,
            all of them.

    Example:

    >>> PrivateName("keras.Model._compute_loss", ("a.b",), "why").name
    '_compute_loss'
    """

    path: str
    modules: tuple[str, ...]
    why: str
    made_in: str = ""
    backend: str = ""

    @property
    def name(self) -> str:
        """Returns the last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def package(self) -> str:
        """Returns the first part of the path."""
        return self.path.partition(".")[0]

    def is_in(self, package: object) -> bool:
        """Returns whether a package has the name.

        An attribute that a method makes is found in the names that the code of
        the method uses.

        Args:
            package: The module of the package, such as `keras`.
        """
        _, _, path = (self.made_in or self.path).partition(".")
        try:
            found = operator.attrgetter(path)(package)
        except AttributeError:
            return False
        if not self.made_in:
            return True
        return self.name in inspect.unwrap(found).__code__.co_names


PRIVATE_NAMES = (
    PrivateName(
        "keras.src.models.functional.Functional",
        ("training.model", "training.unit_axes"),
        "the class of a model that is made from inputs and outputs",
    ),
    PrivateName(
        "keras.Model._call_has_training_arg",
        ("training.perturbed",),
        "SAM calls the model as Keras's own step does",
        made_in="keras.layers.Layer.__init__",
    ),
    PrivateName(
        "keras.src.backend.common.global_state.get_global_attribute",
        ("training.legacy_h5",),
        "a model finds out whether Keras loads it from an .h5 file, which "
        "stores no AGC",
    ),
    PrivateName(
        "keras.Model._compile_config",
        ("training.model",),
        "the arguments of `compile` are saved so that any model can load them",
        made_in="keras.Model.compile",
    ),
    PrivateName(
        "keras.Model._compile_metrics",
        ("training.model",),
        "metrics are built before a step is traced; else it is traced twice",
        made_in="keras.Model.compile",
    ),
    PrivateName(
        "keras.Model._compute_loss",
        ("training.perturbed",),
        "SAM's first loss is the one that Keras's own step takes",
    ),
    PrivateName(
        "keras.Model._get_metrics_result_or_logs",
        ("training.model",),
        "AGC's report is in the logs of `fit` beside the metrics",
    ),
    PrivateName(
        "keras.Model._symbolic_build",
        ("training.perturbed",),
        "SAM builds a model before it moves the weights",
        backend="tensorflow",
    ),
    PrivateName(
        "keras.layers.Layer._flatten_layers",
        ("training.unit_axes",),
        "AGC finds the innermost layer that owns a weight",
    ),
    PrivateName(
        "keras.Operation._inbound_nodes",
        ("training.unit_axes",),
        "AGC finds the layers that compute the model's outputs",
        made_in="keras.Operation.__init__",
    ),
    PrivateName(
        "keras.KerasTensor._keras_history",
        ("export.folding.graph", "training.unit_axes"),
        "AGC finds the layers that compute the model's outputs, and folding "
        "finds outputs that are inputs",
        made_in="keras.src.ops.node.Node.__init__",
    ),
    PrivateName(
        "keras.layers.Conv1D._compute_causal_padding",
        ("layers.convolution_1d_3d",),
        "`WSConv1D` pads as `Conv1D` does",
    ),
    PrivateName(
        "keras.optimizers.Optimizer._all_reduce_sum_gradients",
        ("training.agc_step",),
        "AGC enters after the sum over replicas",
        backend="tensorflow",
    ),
    PrivateName(
        "keras.optimizers.Optimizer._backend_update_step",
        ("training.agc_step", "training.optimizers"),
        "AGC enters before the update on JAX and PyTorch; SGD reads the "
        "learning rate once",
    ),
    PrivateName(
        "keras.optimizers.Optimizer._get_variable_index",
        ("training.agc_step", "training.optimizers"),
        "a variable's state and its unit are found by its index",
    ),
    PrivateName(
        "keras.optimizers.Optimizer._model_variables_moving_average",
        ("training.optimizers",),
        "the averages are warmed up, and stay apart from the weights",
        made_in="keras.optimizers.Optimizer.build",
    ),
    PrivateName(
        "keras.optimizers.Optimizer._trainable_variables",
        ("training.agc_layers", "training.agc_step"),
        "units are known by Keras's variables, not by TensorFlow's",
        made_in="keras.optimizers.Optimizer.build",
    ),
    PrivateName(
        "keras.optimizers.Optimizer._update_model_variables_moving_average",
        ("training.optimizers",),
        "the averages are warmed up, which Keras's are not",
    ),
    PrivateName(
        "keras.callbacks.SwapEMAWeights._backend_swap_variables",
        ("callbacks.averages",),
        "weights and averages change places without rounding",
    ),
    PrivateName(
        "keras.callbacks.SwapEMAWeights._tf_swap_variables",
        ("callbacks.averages",),
        "weights and averages change places without rounding",
        backend="tensorflow",
    ),
    PrivateName(
        "tensorflow.__internal__.distribute.interim.maybe_merge_call",
        ("training.perturbed",),
        "SAM assigns on every replica, as Keras's optimizers do",
        backend="tensorflow",
    ),
    PrivateName(
        "tensorflow.compiler.tf2xla.ops.gen_xla_ops.xla_optimization_barrier",
        ("layers.remat",),
        "keeps XLA from joining a computation with its repetition",
        backend="tensorflow",
    ),
    PrivateName(
        "tensorflow.lite.python.lite.TFLiteConverterBase."
        "_experimental_use_buffer_offset",
        ("export.litert",),
        "a LiteRT file of 2 GiB or more has its weights behind its graph",
        made_in="tensorflow.lite.python.lite.TFLiteConverterBase.__init__",
        backend="tensorflow",
    ),
    PrivateName(
        "tensorflow.python.ops.control_flow_util.GraphOrParentsInXlaContext",
        ("layers.device",),
        "tells whether XLA compiles what is traced",
        backend="tensorflow",
    ),
    PrivateName(
        "tensorflow.python.util._pywrap_util_port.IsMklEnabled",
        ("layers.device",),
        "tells whether TensorFlow runs oneDNN's kernels",
        backend="tensorflow",
    ),
    PrivateName(
        "tensorflow.python.util._pywrap_util_port.IsX86Available",
        ("layers.device",),
        "tells whether TensorFlow runs oneDNN's kernels",
        backend="tensorflow",
    ),
)


def check() -> None:
    """Raises an error unless Keras has the private names that are used.

    Names of other backends than the one in use are not looked up.

    Raises:
        RuntimeError: If one is missing; all that are missing are named.

    Example:

    >>> keras_nfnets.private_names.check()
    """
    import keras

    backend = keras.backend.backend()
    missing = [
        row.path
        for row in PRIVATE_NAMES
        if row.package == "keras" and row.backend in ("", backend)
        if not row.is_in(keras)
    ]
    if missing:
        raise RuntimeError(
            "Keras must have the private names that keras_nfnets uses. "
            f"Keras {keras.__version__} has no {', '.join(missing)}. "
            f"Tested with Keras {', '.join(TESTED)}."
        )
