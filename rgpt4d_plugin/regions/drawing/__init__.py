# SPDX-License-Identifier: Apache-2.0
"""Drawing of numbered marks (set-of-marks) on images and video frames."""
