# SPDX-License-Identifier: Apache-2.0
"""What answers the questions: the host's Hugging Face engine, or a server that speaks the OpenAI protocol."""
