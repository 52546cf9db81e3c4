# SPDX-License-Identifier: Apache-2.0
"""R4D-Bench, STI-Bench, VLM4D and VSTI-Bench as lmms-eval tasks.

`lmms_eval --include_path FOLDER`, this file's folder, or LMMS_EVAL_PLUGINS with this package's name; see
docs/lmms_eval.md. The tasks are thin: prompts, readers and columns are those of `eval_hooks.benchmarks`.
"""
