# SPDX-License-Identifier: Apache-2.0
"""Published model folders that transformers cannot load, to folders that it can, and back."""

MODELS = ("nvila",)
"""What `rgpt4d convert-model` takes."""
