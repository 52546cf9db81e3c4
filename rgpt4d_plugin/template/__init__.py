# SPDX-License-Identifier: Apache-2.0
"""Videos and region prompts inside LLaMA-Factory: converters, clip-reading plugins, the `rgpt4d_<name>` templates."""
