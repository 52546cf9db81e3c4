# SPDX-License-Identifier: Apache-2.0
"""Region prompts inside LLaMA-Factory: dataset converters, the reading plugin, and the `rgpt4d_<name>` templates."""
