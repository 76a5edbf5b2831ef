"""Names of four words, for tasks that were given none."""

from __future__ import annotations

import hashlib
from typing import Final

#: how many words a name has
_LENGTH: Final = 4
#: one for each value of a byte
_WORDS: Final = tuple(
    """
acorn alder amber anchor anvil apple apricot april arbor arrow aspen aster atlas autumn badger bamboo
barley basil basin beacon beaver beech bell berry birch bishop bloom bluebell bobcat bonfire border
bottle boulder bramble brass breeze brick bridge bronze brook bucket burrow butter button cabin cactus
camel canal candle canoe canyon carbon carpet carrot castle cedar cello chalk cherry chestnut cinder
circle citrus clay cliff clover cobalt comet compass copper coral cotton cradle crane crater cricket
crystal curlew cypress dahlia daisy dawn delta desert dolphin donkey dragon drum dune eagle earth east
ebony echo eclipse elder elm ember emerald falcon feather fennel fern ferry fiddle field finch fjord
flame flint flute forest fossil fountain fox frost galaxy garden garnet geyser ginger glacier glade
gorge granite grape grove gull harbor harvest hawk hazel heather hedge heron hickory hill honey horizon
hornet iceberg indigo inlet iris iron island ivory ivy jade jasmine jigsaw juniper kayak kettle kite
koala ladder lagoon lantern larch lark laurel lava lemon lentil lichen lily linen lion lizard lotus
lupine lynx magnet magpie mango maple marble marina marlin marsh meadow melon meteor mint mirror mist
moose mosaic moss moth mountain mulberry nebula nectar nettle north nutmeg oak oasis oat ocean olive
onyx opal orbit orchid oriole osprey otter owl oyster paddle palm panda papaya parrot peach pearl pebble
pelican pepper pine planet plum pond poplar poppy prairie prism pumpkin quail quarry quartz quince
rabbit rain raven reef ribbon river robin rocket rose ruby saddle saffron sage salmon sandal sapphire
satin seal shell silver sparrow
""".split()  # noqa: SIM905 - a list takes a line for each of them
)


def words_of(id: str) -> str:
    """Return the name of a task, always the same one for the same id."""
    digest = hashlib.sha256(id.encode()).digest()
    return "-".join(_WORDS[byte] for byte in digest[:_LENGTH])
