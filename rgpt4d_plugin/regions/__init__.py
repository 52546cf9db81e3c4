# SPDX-License-Identifier: Apache-2.0
"""Region prompts: questions about <obj_1>, with a box, mask, polygon or point that says what <obj_1> is."""
