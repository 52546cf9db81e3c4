# SPDX-License-Identifier: Apache-2.0
"""Seam: `llamafactory-cli export` carries the section on P4D of a model card on to the exported model.

Host name: `export_model` of `llamafactory.train.tuner` (0.9.3 to main of August 2026), which writes no card; for a
push it uploads the model's files. A model without that section is exported as the host does. To be removed when the
host exports model cards.
"""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from rgpt4d_plugin.seams import replace, require, wrap


def patch(module: ModuleType) -> Callable[[], None]:
    """Wraps `export_model` of `module`; returns the undo function."""
    require(module, "export_model", "get_infer_args")
    export_model, get_infer_args = module.export_model, module.get_infer_args

    @functools.wraps(export_model)
    def export_with_card(args: dict[str, Any] | None = None) -> None:
        parsed: list[Any] = []

        def get_and_keep(*given: Any) -> Any:
            parsed.append(get_infer_args(*given))
            return parsed[-1]

        restore = replace(module, get_infer_args=get_and_keep)
        try:
            export_model(args)
        finally:
            restore()
        _carry_card(parsed[-1][0])

    return wrap(module, export_model=export_with_card)


def _carry_card(model_args: Any) -> None:
    """Writes the card of a merged model from that of its adapter, or of its base."""
    from rgpt4d_plugin.trainers.model_card import CARD_FILE, read_card, write_card

    trained = [*(model_args.adapter_name_or_path or ()), model_args.model_name_or_path]
    facts = next(filter(None, map(read_card, trained)), None)
    if facts is None:
        return
    write_card(model_args.export_dir, facts.model_copy(update={"adapter": False}))
    if model_args.export_hub_model_id is not None:
        from huggingface_hub import HfApi

        HfApi(token=model_args.hf_hub_token).upload_file(
            path_or_fileobj=f"{model_args.export_dir}/{CARD_FILE}",
            path_in_repo=CARD_FILE,
            repo_id=model_args.export_hub_model_id,
        )
