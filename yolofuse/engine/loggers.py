"""Write a run's rows of results to an experiment tracker: TensorBoard, MLflow, Weights & Biases, by their libraries."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from yolofuse.config import Config
from yolofuse.config.load import flat_options
from yolofuse.config.parts import check_name
from yolofuse.engine.callbacks import Callback, Ending
from yolofuse.errors import ConfigError
from yolofuse.extras import install_line

if TYPE_CHECKING:
    from yolofuse.engine.active_run import ActiveRun

log = logging.getLogger("yolofuse")


class Logger(Callback):
    """A callback that writes rows of results elsewhere; if it fails, it is told once and left alone.

    Subclasses override :meth:`open`, :meth:`write` and :meth:`close`.
    """

    package = ""
    """Python package that it needs; "" for none."""

    _is_broken = False

    def open(self, run: ActiveRun) -> None:
        """Open the tracker; called at the start and after each resume."""

    def write(self, values: Mapping[str, float], epoch: int) -> None:
        """Write the values of an epoch."""

    def close(self, how: Ending) -> None:
        """Close the tracker."""

    def on_start(self, run: ActiveRun) -> None:
        """Open it."""
        self._try(lambda: self.open(run))

    def on_epoch(self, run: ActiveRun, row: Mapping[str, float | None]) -> None:
        """Write the row's values; those of an epoch without evaluation are left out."""
        values = {name: value for name, value in row.items() if value is not None and name != "epoch"}
        self._try(lambda: self.write(values, int(row["epoch"] or 0)))

    def on_end(self, run: ActiveRun, how: Ending) -> None:
        """Close it."""
        self._try(lambda: self.close(how))

    def _try(self, call: Callable[[], None]) -> None:
        if self._is_broken:
            return
        try:
            call()
        except Exception as error:  # whatever a tracker's library raises: training is worth more than its log
            self._is_broken = True
            log.warning(
                "warning: the logger %s failed and is left out from here on: %s: %s",
                type(self).__name__,
                type(error).__name__,
                error,
            )


class TensorBoard(Logger):
    """Event files in ``RUN/tensorboard``."""

    package = "tensorboard"

    def open(self, run: ActiveRun) -> None:
        """Open a writer."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run.folder.path / "tensorboard"))

    def write(self, values: Mapping[str, float], epoch: int) -> None:
        """Write scalars."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self, how: Ending) -> None:
        """Close the writer."""
        self._writer.close()


class MLflow(Logger):
    """A run of the experiment ``yolofuse``, by default in ``RUN/mlflow``; MLFLOW_TRACKING_URI names another place.

    A resumed run goes on in its own MLflow run.
    """

    package = "mlflow"

    def open(self, run: ActiveRun) -> None:
        """Find the run by its folder, or create it, with the options as parameters."""
        import os

        from mlflow.tracking import MlflowClient

        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # else it wants a database, which skinny has not
            uri = (run.folder.path / "mlflow").resolve().as_uri()
        self._client = MlflowClient(uri)
        known = self._client.get_experiment_by_name("yolofuse")
        experiment = known.experiment_id if known else self._client.create_experiment("yolofuse")
        place = str(run.folder.path.resolve())
        earlier = self._client.search_runs([experiment], f"tags.`yolofuse.run` = '{place}'", max_results=1)
        if earlier:
            self._id = earlier[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return
        created = self._client.create_run(experiment, run_name=run.folder.path.name, tags={"yolofuse.run": place})
        self._id = created.info.run_id
        for name, value in flat_options(run.context.config).items():
            self._client.log_param(self._id, name, str(value)[:500])

    def write(self, values: Mapping[str, float], epoch: int) -> None:
        """Write metrics; the epoch is the step."""
        for name, value in values.items():
            self._client.log_metric(self._id, name, value, step=epoch)

    def close(self, how: Ending) -> None:
        """Set the run's status."""
        status = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}[how]
        self._client.set_terminated(self._id, status)


class WandB(Logger):
    """A run of Weights & Biases in ``RUN/wandb``: offline, for ``wandb sync``, unless WANDB_MODE says otherwise."""

    package = "wandb"

    def open(self, run: ActiveRun) -> None:
        """Open a run whose id depends on the run's folder, so that a resumed one goes on."""
        import hashlib
        import os

        import wandb

        place = str(run.folder.path.resolve())
        self._run: Any = wandb.init(
            project="yolofuse",
            name=run.folder.path.name,
            id=hashlib.sha256(place.encode(errors="surrogateescape")).hexdigest()[:16],
            resume="allow",
            dir=place,
            config=flat_options(run.context.config),
            settings=wandb.Settings(silent=True, console="off", mode=os.environ.get("WANDB_MODE", "offline")),
        )

    def write(self, values: Mapping[str, float], epoch: int) -> None:
        """Write metrics; the epoch is the step."""
        self._run.log(dict(values), step=epoch)

    def close(self, how: Ending) -> None:
        """Finish the run."""
        self._run.finish(exit_code=0 if how == "finished" else 1)


LOGGERS: dict[str, Callable[[], Callback]] = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB}
"""By the names of ``train.loggers``; add your own before a config names it."""


def check_loggers(config: Config) -> None:
    """Check that the loggers of a config are known and their packages installed.

    Raises:
        ConfigError: If not.
    """
    for name in _names(config):
        check_name("train.loggers", name, LOGGERS)
        _require_package(name, LOGGERS[name])


def make_loggers(config: Config) -> list[Callback]:
    """Create the loggers of a config.

    Raises:
        ConfigError: If one is unknown, or its package is not installed.
    """
    check_loggers(config)
    loggers = {name: LOGGERS[name]() for name in _names(config)}
    for name, logger in loggers.items():
        _require_package(name, logger)
    return list(loggers.values())


def _names(config: Config) -> list[str]:
    older = ["tensorboard"] if config.train.tensorboard else []
    return list(dict.fromkeys([*config.train.loggers, *older]))


def _require_package(name: str, logger: object) -> None:
    package = getattr(logger, "package", "")
    if package and find_spec(package) is None:
        raise ConfigError(f"train.loggers: {name} is not installed; {install_line('loggers')}, or leave it out")
