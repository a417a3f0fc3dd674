/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
(function () {
	"use strict";
	document.documentElement.classList.add("js");

	/* Shows the rows of one table, over all its parts, that have every word. */
	function filter(box, words, said) {
		var shown = 0, rows = box.querySelectorAll("tbody tr");
		rows.forEach(function (row) {
			var text = row.textContent.toLowerCase();
			var fits = words.every(function (word) { return text.indexOf(word) >= 0; });
			row.hidden = !fits;
			shown += fits;
		});
		box.querySelectorAll("details.more").forEach(function (part) {
			var some = part.querySelector("tbody tr:not([hidden])");
			part.hidden = !some;
			if (words.length)
				part.open = !!some;
		});
		said.textContent = words.length ? shown + " of " + rows.length + " rows" : "";
	}

	document.querySelectorAll(".find").forEach(function (find) {
		var input = find.querySelector("input"), said = find.querySelector("small");
		var box = find.parentNode.querySelector("." + input.name), wait = 0;
		input.addEventListener("input", function () {
			clearTimeout(wait);
			wait = setTimeout(function () {
				var words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
				filter(box, words, said);
			}, 120);
		});
	});
}());
