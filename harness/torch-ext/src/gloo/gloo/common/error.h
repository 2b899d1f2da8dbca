// c10d includes this name; it uses nothing of it.
#pragma once
