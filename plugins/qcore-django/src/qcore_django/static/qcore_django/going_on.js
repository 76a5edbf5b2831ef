'use strict';
// Asks for the rest of an action.
document.getElementById('q-going-on').submit();
