# SPDX-License-Identifier: Apache-2.0
"""From videos and questions to questions about regions: the steps of `rgpt4d curate`."""
