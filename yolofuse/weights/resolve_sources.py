"""Choose the file of weights for each part of a model, and read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from yolofuse.config import WeightsConfig
from yolofuse.config.safe_yaml import read_yaml
from yolofuse.errors import ConfigError
from yolofuse.weights.sources import Source, load_source


def load_sources(config: WeightsConfig, parts: Sequence[str]) -> dict[str, Source]:
    """Read the file of every part; one that serves several parts is read once.

    Raises:
        ConfigError: If a source is given for a part that this model does not have.
        WeightsError: If a file cannot be read.
    """
    streams = {"rgb": config.rgb, "ir": config.ir}
    unused = [name for name, path in streams.items() if path and name not in parts]
    if unused:
        raise ConfigError(
            f"weights.{unused[0]}: this model has no {unused[0]} stream of its own (its parts: {', '.join(parts)}); "
            "use weights.pretrained"
        )
    if config.trunk and "trunk" not in parts:
        raise ConfigError("weights.trunk: a decision model has no trunk; use weights.rgb and weights.ir")
    chosen: dict[str, str | None] = {name: path or config.pretrained for name, path in streams.items()}
    if config.trunk in {"rgb", "ir"}:
        chosen["trunk"] = chosen[config.trunk]
        if chosen["trunk"] is None:
            raise ConfigError(f"weights.trunk: the {config.trunk} stream has no source; give weights.{config.trunk}")
    else:
        chosen["trunk"] = config.trunk or config.pretrained or config.rgb or config.ir
    chosen["fusion"] = config.pretrained
    used = {part: path for part in parts if (path := chosen[part])}
    for key in ("name_map", "class_names"):
        if getattr(config, key) is not None and not used:
            raise ConfigError(f"weights.{key}: there is no file to apply it to; give weights.pretrained")
    name_map = _read_name_map(Path(config.name_map)) if config.name_map else None
    files = dict.fromkeys(used.values())
    loaded = {path: load_source(Path(path), name_map=name_map, class_names=config.class_names) for path in files}
    if name_map is not None and not any(source.is_mapped for source in loaded.values()):
        raise ConfigError("weights.name_map: the layers of every file are numbered already; leave it out")
    found = {p: loaded[path] for p, path in used.items() if p != "fusion" or "fusion" in loaded[path].parts}
    if config.pretrained and config.pretrained not in {used[part] for part in found}:
        raise ConfigError("weights.pretrained: every part has a source of its own; leave it out")
    return found


def _read_name_map(path: Path) -> dict[str, str]:
    content = read_yaml(path)
    wrong = [key for key, value in content.items() if not isinstance(value, str)]
    if wrong or not content:
        raise ConfigError(
            f"{path}: a name map is lines like 'stem.conv.*: 0.conv.*' (wrong: {', '.join(map(str, wrong)) or 'empty'})"
        )
    return {str(key): value for key, value in content.items()}
