# SPDX-License-Identifier: Apache-2.0
"""Does distillation help? Arms that differ in their loss alone, trained through the host and compared over seeds."""
