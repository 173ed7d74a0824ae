"use client";

export { ChatApp } from "./ChatApp.js";
export {
  ChatErrorBoundary,
  type ChatErrorBoundaryProps,
  type ChatFailure,
  ErrorNotice,
} from "./ChatErrorBoundary.js";
export { ChatUiProvider, type ChatUiProviderProps } from "./ChatUiProvider.js";
export { BrowseDialog } from "./dialogs/BrowseDialog.js";
export { DirectDialog } from "./dialogs/DirectDialog.js";
export { NewRoomDialog } from "./dialogs/NewRoomDialog.js";
export { NotificationsDialog } from "./dialogs/NotificationsDialog.js";
export { errorText } from "./logic/connection.js";
export { displayName } from "./logic/names.js";
export type { NotificationPreview } from "./logic/notify.js";
export { roomTitle } from "./logic/title.js";
export { MembersPanel } from "./panel/MembersPanel.js";
export { SearchPanel } from "./panel/SearchPanel.js";
export { Composer } from "./room/Composer.js";
export { EmojiPicker, type EmojiPickerProps } from "./room/EmojiPicker.js";
export { MessageList } from "./room/MessageList.js";
export { MessageText } from "./room/MessageText.js";
export { PrivatePicker, type PrivatePickerProps } from "./room/PrivatePicker.js";
export { RoomHeader } from "./room/RoomHeader.js";
export { type RoomProps, RoomScope } from "./room/RoomScope.js";
export { RoomView } from "./room/RoomView.js";
export { TypingLine } from "./room/TypingLine.js";
export { AccountButton, type AccountButtonProps } from "./shell/AccountButton.js";
export { ConnectionBanner } from "./shell/ConnectionBanner.js";
export { EmptyState } from "./shell/EmptyState.js";
export { FaviconBadge } from "./shell/FaviconBadge.js";
export { Notifications, type NotificationsProps } from "./shell/Notifications.js";
export { PageTitle } from "./shell/PageTitle.js";
export { RoomList, type RoomListProps } from "./shell/RoomList.js";
export { RoomKeys, RoomSwitcher } from "./shell/RoomSwitcher.js";
export { Sidebar } from "./shell/Sidebar.js";
export type {
  ChatSlots,
  ComposerButtonsProps,
  EmptyStateProps,
  HeaderActionsProps,
  MessageTextProps,
  RoomItemSlotProps,
} from "./slots.js";
export { type ChatUi, useChatRoute, useChatUi } from "./state/chatUi.js";
export { type ChatNavigation, type ChatPanel, type ChatRoute, useHashNavigation } from "./state/route.js";
export { Avatar, type AvatarProps } from "./ui/Avatar.js";
export { Button, type ButtonProps, IconButton, type IconButtonProps } from "./ui/Button.js";
export { Dialog, type DialogProps } from "./ui/Dialog.js";
export { FormError } from "./ui/FormError.js";
export { Icon, type IconName } from "./ui/Icon.js";
export { Menu, type MenuItem, type MenuProps } from "./ui/Menu.js";
export type { PopoverProps } from "./ui/Popover.js";
export { useToast } from "./ui/Toasts.js";
export { type ActionState, useAction } from "./ui/useAction.js";
export type { Point } from "./ui/useContextMenu.js";
