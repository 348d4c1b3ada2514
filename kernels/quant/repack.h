// Weights from file order to planes (planes.h), on the device.
#pragma once

#include "kernels/simt/launch.h"
#include "kernels/view.h"

namespace dsr1::kernels {

// Bytes of w's planes: those of the file, rounded up a plane. 0 for an unknown type.
int64_t planar_bytes(const Weight& w);
// Whether the type is kept in planes: others are copied as they are.
bool has_planes(uint32_t type);
// Rows first ... first + n - 1 of w, as a file has them at `rows`, to their places in w.data.
Status launch_repack(const Weight& w, const uint8_t* rows, int64_t first, int64_t n, simt::Stream stream);

}  // namespace dsr1::kernels
