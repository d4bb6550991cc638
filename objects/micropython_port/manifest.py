# Python modules compiled into the world.
include("$(MPY_DIR)/extmod/asyncio")
