/* The native codecs this build has. The only list there is; everything else finds a codec by name. */
#include "../codec.h"

extern const struct codec redis_codec, tcp_codec;

const struct codec *const codecs[] = {&redis_codec, &tcp_codec, NULL};
