# SPDX-License-Identifier: Apache-2.0
"""How an answer is read out of a reply: text, words, letters and numbers, each in a file of its own."""
